;; status 500 result
;; result string
(func (export "attack") (result i32)
  (drop (memory.grow (i32.const 10)))
  (memory.fill (i32.const 8) (i32.const 97) (i32.const 200000))
  (i32.store (i32.const 0) (i32.const 8)) (i32.store (i32.const 4) (i32.const 200000)) (i32.const 0))
