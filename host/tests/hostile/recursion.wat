;; status 500 limit stack
(func $deeper (param i32) (result i32) (i32.add (i32.const 1) (call $deeper (i32.add (local.get 0) (i32.const 1)))))
(func (export "attack") (drop (call $deeper (i32.const 0))))
