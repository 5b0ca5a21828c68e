-- Keys that more than one accepted row has.
SELECT $key, COUNT(*) AS copies
FROM $staged
GROUP BY $key
HAVING COUNT(*) > 1
