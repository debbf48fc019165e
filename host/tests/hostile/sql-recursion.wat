;; status 504 deadline
;; limits request = "300ms"
;; sql WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT max(i) FROM n
(func (export "attack") (loop (drop (call $query0)) (br 0)))
