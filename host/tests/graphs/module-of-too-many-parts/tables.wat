(component
  (core module $m (table 1 funcref) (table 1 funcref) (func (export "run")))
  (core instance $i (instantiate $m))
  (func $run (canon lift (core func $i "run")))
  (instance $api (export "run" (func $run)))
  (export "field:run/tables@1.0.0" (instance $api)))
