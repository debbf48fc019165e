;; status 500 trap
(func (export "attack") unreachable)
