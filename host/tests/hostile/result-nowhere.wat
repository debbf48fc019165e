;; status 500 trap
;; result string
(func (export "attack") (result i32) (i32.const 0xfffffff0))
