-- Net sales by store and period.
SELECT
  w.store_id,
  p.label AS date,
  CAST(SUM(w.sales) AS DECIMAL(18, 4)) AS sales
FROM $rows AS w
INNER JOIN $periods AS p ON w.date = p.day
GROUP BY w.store_id, p.label
