;; status 500 trap
;; result char
(func (export "attack") (result i32) (i32.const 0xd800))
