;; status 500 result
;; result (list u8)
;; limits transfer = "96MiB"
(func (export "attack") (result i32)
  (drop (memory.grow (i32.const 24)))
  (i32.store (i32.const 0) (i32.const 8)) (i32.store (i32.const 4) (i32.const 1500000)) (i32.const 0))
