;; status 500 limit cpu
;; limits cpu = "50ms"
(func $deeper (param i32) (result i32)
  (if (i32.eqz (local.get 0)) (then (loop (br 0))))
  (i32.add (i32.const 1) (call $deeper (i32.sub (local.get 0) (i32.const 1)))))
(func (export "attack") (drop (call $deeper (i32.const 8000))))
