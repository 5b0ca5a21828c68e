-- One accepted row for each key.
SELECT $prefixed
FROM $staged AS s
LEFT JOIN $doubled AS d ON $same_key
WHERE d.copies IS NULL
UNION ALL
SELECT $columns
FROM $judged
WHERE verdict = 'kept'
