-- The rows as they were known at each day on which something of their period was recorded: of each
-- day the newest version by then.
SELECT store_id, day AS date, at AS known_at, $columns
FROM (
  SELECT
    w.store_id, w.date AS day, k.at, $prefixed,
    ROW_NUMBER() OVER (PARTITION BY w.store_id, w.date, k.at ORDER BY w.known_at DESC) AS age
  FROM $rows AS w
  INNER JOIN $periods AS p ON w.date = p.day
  INNER JOIN (
    SELECT DISTINCT v.store_id, q.label, v.known_at AS at
    FROM $rows AS v
    INNER JOIN $periods AS q ON v.date = q.day
  ) AS k ON w.store_id = k.store_id AND p.label = k.label AND w.known_at <= k.at
) AS versions
WHERE age = 1
