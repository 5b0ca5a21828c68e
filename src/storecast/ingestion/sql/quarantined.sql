-- Rejected rows, equal ones numbered, each with the run that rejected it first.
SELECT
  r.table_name, r.row_hash, r.occurrence, r.reason_code, r.reason, r.raw_row,
  COALESCE(t.first_run_id, '$run_id') AS first_run_id,
  '$run_id' AS last_run_id
FROM (
  SELECT
    table_name, row_hash, reason_code, reason, raw_row,
    CAST(
      ROW_NUMBER() OVER (PARTITION BY table_name, row_hash ORDER BY reason_code) AS BIGINT
    ) AS occurrence
  FROM $rejected
) AS r
LEFT JOIN $target AS t
  ON r.table_name = t.table_name AND r.row_hash = t.row_hash AND r.occurrence = t.occurrence
