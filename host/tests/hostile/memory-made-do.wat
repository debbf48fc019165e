;; status 204 limit memory
(func (export "attack") (loop (br_if 0 (i32.ne (memory.grow (i32.const 1)) (i32.const -1)))))
