;; status 500 trap
;; callee fused
(func (export "attack") (call $callee))
