-- The source's rows and sums beside ours, by store and month; the month -1 and the store '' are of
-- rows that say neither, and which every source counts in its own way.
SELECT row__store, row__month,
  CAST(SUM(source_rows) AS BIGINT) AS source_rows,
  CAST(SUM(source_sum) AS DECIMAL(38, 4)) AS source_sum,
  CAST(SUM(our_rows) AS BIGINT) AS our_rows,
  CAST(SUM(our_sum) AS DECIMAL(38, 4)) AS our_sum
FROM (
  SELECT row__store, row__month, row__rows AS source_rows, row__sum AS source_sum,
    0 AS our_rows, CAST(0 AS DECIMAL(38, 4)) AS our_sum
  FROM $source
  UNION ALL
  SELECT row__store, row__month, 0 AS source_rows, CAST(0 AS DECIMAL(38, 4)) AS source_sum,
    row__rows AS our_rows, row__sum AS our_sum
  FROM $ours
) AS sides
WHERE row__store <> '' AND row__month >= $first
GROUP BY row__store, row__month
HAVING SUM(source_rows) <> 0 OR SUM(our_rows) <> 0
