-- Rejected rows of earlier runs that stay: this run has read neither them nor their key, nor where
-- they lie.
SELECT q.*
FROM $quarantined AS q
LEFT JOIN $came AS c ON $same_key
LEFT JOIN $regions AS r ON r.row__store = q.row__store AND r.row__month = q.row__month
WHERE NOT q.row__reached AND c.$key IS NULL AND r.row__store IS NULL
