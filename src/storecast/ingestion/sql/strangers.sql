-- Stores that have sales and no row among the stores.
SELECT DISTINCT w.store_id
FROM $sales AS w
LEFT JOIN $stores AS s ON w.store_id = s.store_id
WHERE s.store_id IS NULL
ORDER BY w.store_id
