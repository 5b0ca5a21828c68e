-- Of each store, how many periods of its span have a row.
SELECT s.store_id, COUNT(r.date) AS row__present
FROM $spans AS s
LEFT JOIN $rows AS r
  ON s.store_id = r.store_id AND r.date >= s.first_date AND r.date <= s.last_date
GROUP BY s.store_id
