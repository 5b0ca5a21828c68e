-- Rows and sums by store and month, of several counts.
SELECT row__store, row__month,
  CAST(SUM(row__rows) AS BIGINT) AS row__rows,
  CAST(SUM(row__sum) AS DECIMAL(38, 4)) AS row__sum
FROM ($parts) AS parts
GROUP BY row__store, row__month
