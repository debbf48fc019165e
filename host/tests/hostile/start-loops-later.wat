;; status 500 limit cpu
;; fine 500
;; sql INSERT INTO note SELECT 'fine' WHERE NOT EXISTS (SELECT 1 FROM note)
;; Its first instance starts, and no other: the first call ends that one, and every later call only meets the start.
(func $start (call $is (call $execute0) (i32.const 0)) (if (i64.eqz (i64.load (i32.const 264))) (then (loop (br 0)))))
(start $start)
(func (export "attack") (loop (br 0)))
