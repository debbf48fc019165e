//go:build wasip1

// Package export_shop_notifications_notifications is the component: the contract's functions over the service, and nothing else. Its
// name is what the generated code expects.
package export_shop_notifications_notifications

import (
	"errors"
	"fmt"

	types "go.bytecodealliance.org/pkg/wit/types"

	"shop/notifications"
	"shop/notifications/bindings/host"
	"shop/notifications/bindings/shop_common_types"
	contract "shop/notifications/bindings/shop_notifications_notifications"
	"shop/notifications/common"
)

func Notify(notice contract.Notice, key string) types.Result[contract.Notification, contract.Error] {
	defer host.ReportPanic()
	fields := make([]notifications.Field, len(notice.Fields))
	for index, field := range notice.Fields {
		fields[index] = notifications.Field{Name: field.Name, Value: field.Value}
	}
	told, err := service().Notify(notifications.Notice{Recipient: notice.Recipient, Template: notice.Template, Fields: fields}, key)
	if err != nil {
		return types.Err[contract.Notification](toContract(err))
	}
	return types.Ok[contract.Notification, contract.Error](fromNotification(told))
}

func ListNotifications(
	recipient string, limit types.Option[uint32], after types.Option[string],
) types.Result[contract.NotificationPage, contract.Error] {
	defer host.ReportPanic()
	page, err := service().List(recipient, pointer(limit), pointer(after))
	if err != nil {
		return types.Err[contract.NotificationPage](toContract(err))
	}
	items := make([]contract.Notification, len(page.Items))
	for index, item := range page.Items {
		items[index] = fromNotification(item)
	}
	next := types.None[string]()
	if page.Next != nil {
		next = types.Some(*page.Next)
	}
	return types.Ok[contract.NotificationPage, contract.Error](contract.NotificationPage{Items: items, Next: next})
}

func service() notifications.Notifications {
	return notifications.New(host.Host{}, host.Logger("notifications"))
}

func pointer[T any](option types.Option[T]) *T {
	if option.IsNone() {
		return nil
	}
	value := option.Some()
	return &value
}

func fromNotification(told notifications.Notification) contract.Notification {
	return contract.Notification{
		Id:        told.ID,
		Recipient: told.Recipient,
		Template:  told.Template,
		Text:      told.Text,
		CreatedAt: told.CreatedAt,
	}
}

// toContract is what a caller may know. The cause of a failing database is logged here and goes no further.
func toContract(err error) contract.Error {
	var (
		invalid     *common.Invalid
		conflict    *notifications.ConflictError
		unavailable *notifications.UnavailableError
		storage     *notifications.StorageError
	)
	switch {
	case errors.As(err, &invalid):
		return contract.MakeErrorInvalid(shop_common_types.InvalidField{Field: invalid.Field, Reason: invalid.Reason})
	case errors.As(err, &conflict):
		return contract.MakeErrorConflict(conflict.Reason)
	case errors.As(err, &unavailable):
		return contract.MakeErrorUnavailable(unavailable.Reason)
	case errors.As(err, &storage):
		host.Logger("sql").Error(storage.Cause.Error())
		return contract.MakeErrorStorage("the database failed")
	default:
		panic(fmt.Sprintf("an error that the contract has no case for: %v", err))
	}
}
