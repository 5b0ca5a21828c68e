-- Net sales of the stores and periods that a change touches: of the table's rows that stay as they
-- are, and of those that come or change.
SELECT
  w.store_id,
  p.label AS date,
  CAST(SUM(w.sales) AS DECIMAL(18, 4)) AS sales
FROM (
  SELECT t.store_id, t.date, t.sales
  FROM $target AS t
  LEFT JOIN $changed AS c ON $same_key
  WHERE c.row__change IS NULL
  UNION ALL
  SELECT n.store_id, n.date, n.sales
  FROM $changed AS n
  WHERE n.row__change IN ('inserted', 'updated')
) AS w
INNER JOIN $periods AS p ON w.date = p.day
INNER JOIN $affected AS a ON w.store_id = a.store_id AND p.label = a.date
GROUP BY w.store_id, p.label
