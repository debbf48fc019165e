;; status 500 limit memory
(func (export "attack") (if (i32.eq (memory.grow (i32.const 2000)) (i32.const -1)) (then unreachable)))
