;; status 500 trap
;; result string
(func (export "attack") (result i32)
  (i32.store (i32.const 8) (i32.const 0xc0c0c0c0))
  (i32.store (i32.const 0) (i32.const 8)) (i32.store (i32.const 4) (i32.const 4)) (i32.const 0))
