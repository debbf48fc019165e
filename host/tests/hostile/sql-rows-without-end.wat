;; status 204 denied
;; sql WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT i FROM n
(func (export "attack") (call $is (call $query0) (i32.const 5)))
