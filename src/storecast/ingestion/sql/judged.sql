-- The rows of doubled keys, each with its verdict. The newest watermark holds; equal copies of it
-- are one row; newest rows that differ are in conflict, and none of them is taken.
-- A name with two underscores is no column of the user's: theirs have single ones.
SELECT
  $columns,
  CASE
    WHEN row__age > 1 THEN 'superseded'
    WHEN MAX(CASE WHEN row__age = 1 THEN row__variant END) OVER (PARTITION BY $key) > 1
      THEN 'conflicting'
    WHEN row__place = 1 THEN 'kept'
    ELSE 'superseded'
  END AS row__verdict
FROM (
  SELECT
    $prefixed,
    RANK() OVER (PARTITION BY $prefixed_key ORDER BY $newest) AS row__age,
    DENSE_RANK() OVER (PARTITION BY $prefixed_key ORDER BY $newest, $order) AS row__variant,
    ROW_NUMBER() OVER (PARTITION BY $prefixed_key ORDER BY $newest, $order) AS row__place
  FROM $staged AS s
  INNER JOIN $doubled AS d ON $same_key
) AS ranked
