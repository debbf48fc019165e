;; status 204 denied
;; limits handles = 100000
;; sql INSERT INTO note VALUES ('attack')
(func (export "attack") (local $left i32)
  (call $is (call $execute-within0 (call $begin)) (i32.const 0))
  (local.set $left (i32.const 100))
  (loop
    (call $is (call $try-begin) (i32.const 3))
    (call $is (call $execute0) (i32.const 3))
    (br_if 0 (local.tee $left (i32.sub (local.get $left) (i32.const 1))))))
