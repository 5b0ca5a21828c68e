-- The newest version of each key.
SELECT $columns
FROM (
  SELECT w.*, ROW_NUMBER() OVER (PARTITION BY $prefixed_key ORDER BY w.$version DESC) AS age
  FROM $rows AS w
) AS versions
WHERE age = 1
