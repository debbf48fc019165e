;; status 500 trap
;; sql INSERT INTO note VALUES ('attack')
(func (export "attack") (call $is (call $execute-within0 (call $begin)) (i32.const 0)) unreachable)
