;; status 504 deadline
;; limits request = "300ms"
;; sql INSERT INTO note WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT 'attack' FROM n
(func (export "attack") (loop (drop (call $execute0)) (br 0)))
