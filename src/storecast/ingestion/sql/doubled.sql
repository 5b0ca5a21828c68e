-- Keys that more than one accepted row has.
SELECT $key, COUNT(*) AS row__copies
FROM $staged
GROUP BY $key
HAVING COUNT(*) > 1
