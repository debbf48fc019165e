;; status 500 trap
;; result (option u32)
(func (export "attack") (result i32) (i32.store8 (i32.const 0) (i32.const 5)) (i32.const 0))
