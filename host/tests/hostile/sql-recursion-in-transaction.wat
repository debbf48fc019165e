;; status 504 deadline
;; limits request = "300ms"
;; sql INSERT INTO note VALUES ('attack')
;; sql WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT max(i) FROM n
(func (export "attack") (local $transaction i32)
  (local.set $transaction (call $begin))
  (call $is (call $execute-within0 (local.get $transaction)) (i32.const 0))
  (loop (drop (call $query-within1 (local.get $transaction))) (br 0)))
