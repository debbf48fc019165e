;; status 500 trap
;; sql INSERT INTO note VALUES ('kept')
(func (export "attack") (call $is (call $execute0) (i32.const 0)) unreachable)
