-- The newest version of each key.
SELECT $columns
FROM (
  SELECT
    $prefixed,
    ROW_NUMBER() OVER (PARTITION BY $prefixed_key ORDER BY w.$version DESC) AS row__age
  FROM $rows AS w
) AS versions
WHERE row__age = 1
