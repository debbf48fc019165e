;; status 503 callee
;; callee apart
(func (export "attack") (call $callee))
