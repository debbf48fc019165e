;; status 204 limit log
;; limits memory = "4MiB"
(func (export "attack") (local $left i32)
  (drop (memory.grow (i32.const 20)))
  (local.set $left (i32.const 600))
  (loop
    (call $log (i32.const 2) (i32.const 0) (i32.const 7) (i32.const 0) (i32.const 1000000))
    (br_if 0 (local.tee $left (i32.sub (local.get $left) (i32.const 1))))))
