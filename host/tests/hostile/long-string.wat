;; status 500 limit transfer
;; result string
;; limits memory = "128MiB"
(func (export "attack") (result i32)
  (drop (memory.grow (i32.const 1600)))
  (i32.store (i32.const 0) (i32.const 8)) (i32.store (i32.const 4) (i32.const 100000000)) (i32.const 0))
