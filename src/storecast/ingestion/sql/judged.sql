-- The rows of doubled keys, each with its verdict. The newest watermark holds; equal copies of it
-- are one row; newest rows that differ are in conflict, and none of them is taken.
SELECT
  $columns,
  CASE
    WHEN age > 1 THEN 'superseded'
    WHEN MAX(CASE WHEN age = 1 THEN variant END) OVER (PARTITION BY $key) > 1 THEN 'conflicting'
    WHEN place = 1 THEN 'kept'
    ELSE 'superseded'
  END AS verdict
FROM (
  SELECT
    $prefixed,
    RANK() OVER (PARTITION BY $prefixed_key ORDER BY $newest) AS age,
    DENSE_RANK() OVER (PARTITION BY $prefixed_key ORDER BY $newest, $order) AS variant,
    ROW_NUMBER() OVER (PARTITION BY $prefixed_key ORDER BY $newest, $order) AS place
  FROM $staged AS s
  INNER JOIN $doubled AS d ON $same_key
) AS ranked
