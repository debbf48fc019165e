;; status 500 limit table
(table $t 1 funcref)
(func (export "attack") (loop (br_if 0 (i32.ne (table.grow $t (ref.null func) (i32.const 10)) (i32.const -1)))) unreachable)
