-- The rows as the table will have them: what came, or what is there where that is newer.
SELECT $settled
FROM $wanted AS w
LEFT JOIN $held AS h ON $same_key
