-- Columns that come from several tables, in one row a key.
SELECT $key, $values
FROM ($union) AS parts
GROUP BY $key
