export const handler = async (event, context) => {
  if (event.fail === true) throw new TypeError('on purpose')
  return { got: event, id: context.awsRequestId, function: context.functionName }
}
