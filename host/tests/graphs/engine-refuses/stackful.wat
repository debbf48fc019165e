(component
  (core module $m (func (export "run")))
  (core instance $i (instantiate $m))
  (func $run async (canon lift (core func $i "run") async))
  (instance $api (export "run" (func $run)))
  (export "field:run/stackful@1.0.0" (instance $api)))
