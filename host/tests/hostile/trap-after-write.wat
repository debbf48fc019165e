;; status 500 trap
(func (export "attack") (i32.store (i32.const 0) (i32.const 1)) (i32.store (i32.const -4) (i32.const 1)))
