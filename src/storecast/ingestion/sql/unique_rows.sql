-- One accepted row for each key.
SELECT $prefixed
FROM $staged AS s
LEFT JOIN $doubled AS d ON $same_key
WHERE d.row__copies IS NULL
UNION ALL
SELECT $columns
FROM $judged
WHERE row__verdict = 'kept'
