-- Covariates by period: the mean over the days that have a value. Sums are of decimals, since
-- those of doubles depend on the order of the rows.
SELECT
  $keys,
  $means
FROM $rows AS w
INNER JOIN $periods AS p ON w.date = p.day
GROUP BY $grouped
