;; status 500 limit cpu
(func (export "attack") (loop (br 0)))
