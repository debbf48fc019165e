;; status 500 trap
;; result (list u64)
(func (export "attack") (result i32)
  (i32.store (i32.const 0) (i32.const 8)) (i32.store (i32.const 4) (i32.const 0x20000000)) (i32.const 0))
