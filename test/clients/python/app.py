def handler(event, context):
    if event.get("fail") is True:
        raise ValueError("on purpose")
    return {"got": event, "id": context.aws_request_id, "function": context.function_name}
