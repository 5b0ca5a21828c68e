-- Every key whose row is not the same before and after: inserted, updated, deleted, or held where
-- the row that is there is newer than the one that came.
SELECT *
FROM (
  SELECT
    $keys,
    $values,
    $befores,
    CASE
      WHEN $no_before THEN 'inserted'
      WHEN $no_after THEN 'deleted'
      WHEN $same THEN 'unchanged'
      WHEN $older THEN 'held'
      ELSE 'updated'
    END AS row__change
  FROM $wanted AS w
  FULL OUTER JOIN $target AS t ON $same_key
) AS compared
WHERE row__change <> 'unchanged'
