;; status 500 limit handles
(func (export "attack") (loop (drop (call $new (i32.const 1))) (br 0)))
