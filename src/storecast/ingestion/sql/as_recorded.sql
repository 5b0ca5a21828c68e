-- The rows as they were known at each day on which something of their period was recorded: of each
-- day the newest version by then.
SELECT store_id, row__day AS date, row__recorded AS known_at, $columns
FROM (
  SELECT
    w.store_id, w.date AS row__day, k.row__recorded, $prefixed,
    ROW_NUMBER() OVER (
      PARTITION BY w.store_id, w.date, k.row__recorded ORDER BY w.known_at DESC
    ) AS row__age
  FROM $rows AS w
  INNER JOIN $periods AS p ON w.date = p.day
  INNER JOIN (
    SELECT DISTINCT v.store_id, q.label AS row__label, v.known_at AS row__recorded
    FROM $rows AS v
    INNER JOIN $periods AS q ON v.date = q.day
  ) AS k ON w.store_id = k.store_id AND p.label = k.row__label AND w.known_at <= k.row__recorded
) AS versions
WHERE row__age = 1
