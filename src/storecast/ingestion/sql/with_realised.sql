-- Realised covariates beside the sales of their period.
SELECT $own, $columns
FROM $sales AS w
LEFT JOIN $realised AS r ON w.store_id = r.store_id AND w.date = r.date
